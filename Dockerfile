# benchfw beside the TensorRT of an image of NVIDIA's. docs/guides/docker.md says how to build and start it.
ARG BASE=nvcr.io/nvidia/tensorrt:26.05-py3
FROM ${BASE}

# For virtual environments and for torch.compile.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv python3-dev g++ \
    && rm -rf /var/lib/apt/lists/*

COPY . /opt/benchfw/source
RUN /opt/benchfw/source/docker/install.sh /opt/benchfw/venv cuda

# What is written outlives the container, and may belong to whatever user starts it.
ENV PATH=/opt/benchfw/venv/bin:${PATH} \
    BENCHFW_CACHE=/cache/benchfw \
    TORCHINDUCTOR_CACHE_DIR=/cache/benchfw/frameworks/inductor \
    TRITON_CACHE_DIR=/cache/triton \
    XDG_CACHE_HOME=/cache \
    BENCHFW_ENVIRONMENTS=/opt/benchfw/environments \
    HOME=/home/benchfw \
    USER=benchfw
RUN useradd --no-create-home --uid 10001 benchfw \
    && mkdir -p /cache /benchfw/results /benchfw/models /home/benchfw /opt/benchfw/environments \
    && chmod 1777 /cache /benchfw/results /benchfw/models /home/benchfw /opt/benchfw/environments
COPY scenarios /benchfw/scenarios
WORKDIR /benchfw
VOLUME ["/cache", "/benchfw/results", "/benchfw/models"]

USER benchfw
# A second TensorRT, for scenarios whose backends say `environment = "trt11"`. Empty: without it.
ARG TENSORRT11=11.4.0.106
RUN /opt/benchfw/source/docker/environments.sh "${TENSORRT11}"

HEALTHCHECK --interval=10m --timeout=5m --start-period=1m CMD ["python", "/opt/benchfw/source/docker/health.py"]
CMD ["benchfw", "run", "scenarios/res18.toml"]
