"""DETR, BERT and ViT of `transformers`, from configurations alone: random weights, nothing is downloaded.

Parameters have the names of the published checkpoints, so that `model.weights` loads these. Imported only if one of
them is asked for.
"""

from __future__ import annotations

import os
from typing import NamedTuple

os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from torch import Tensor
from transformers import (
    BertConfig,
    BertModel,
    DetrConfig,
    DetrForObjectDetection,
    ResNetConfig,
    ViTConfig,
    ViTForImageClassification,
)

VOCABULARY = 30522
"""Token ids of BERT-base, uncased."""


class Detections(NamedTuple):
    """Of each query, scores of the classes (the last one is "no object"), and a box (centre x, y, width, height)."""

    logits: Tensor
    pred_boxes: Tensor


class Detr(DetrForObjectDetection):
    """DETR with ResNet-50 (arXiv:2005.12872), 41,524,768 parameters, as facebook/detr-resnet-50.

    Input: float32 [batch, 3, height, width]. Outputs: float32 [batch, 100, 92] and [batch, 100, 4].
    """

    def __init__(self) -> None:
        backbone = ResNetConfig(out_features=["stage4"])
        super().__init__(DetrConfig(use_timm_backbone=False, backbone_config=backbone, num_labels=91))

    def forward(self, pixel_values: Tensor) -> Detections:
        result = super().forward(pixel_values=pixel_values, return_dict=True)
        return Detections(result.logits, result.pred_boxes)


class Encoding(NamedTuple):
    """Vectors of all tokens, and one of the whole."""

    last_hidden_state: Tensor
    pooler_output: Tensor


class Bert(BertModel):
    """BERT-base, uncased (arXiv:1810.04805), 109,482,240 parameters.

    Inputs: int64 [batch, sequence] each. Outputs: float32 [batch, sequence, 768] and [batch, 768].
    """

    def __init__(self) -> None:
        super().__init__(BertConfig(vocab_size=VOCABULARY))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Encoding:
        result = super().forward(input_ids=input_ids, attention_mask=attention_mask, return_dict=True)
        return Encoding(result.last_hidden_state, result.pooler_output)


class Vit(ViTForImageClassification):
    """ViT-B/16 (arXiv:2010.11929), 86,567,656 parameters.

    Input: float32 [batch, 3, 224, 224]. Output: float32 [batch, 1000].
    """

    def __init__(self) -> None:
        super().__init__(ViTConfig(num_labels=1000))

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        return {"logits": super().forward(pixel_values=pixel_values, return_dict=True).logits}
