"""The outputs that the cases of one cohort are compared with."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchfw.errors import BackendError
from benchfw.measure import accuracy
from benchfw.measure.gates.outputs import check_alive, check_following
from benchfw.measure.inputs import InputMaker
from benchfw.measure.member import Member

COMPARED_SETS = 2
"""Sets of inputs whose outputs are compared; of the others only that they are launched."""


class AccuracyFailed(BackendError):
    """Outputs are too far from the reference's: the timing is worth nothing."""

    status = "ACCURACY_FAIL"


Key = tuple[str, int, int]
"""Hash of the model, size of the varying axis, set of inputs."""


@dataclass
class References:
    """Outputs, and whose they are."""

    names: dict[Key, str] = field(default_factory=dict)
    outputs: dict[Key, accuracy.Outputs] = field(default_factory=dict)

    @property
    def name(self) -> str | None:
        """The backend that gave the first ones."""
        return next(iter(self.names.values()), None)

    def check(self, member: Member, moment: str, inputs: InputMaker, model_hash: str) -> None:
        """Compare a case's outputs with the reference's; the first fp32 case becomes it where there is none yet.

        Args:
            member: The case; gets the rows of the comparison.
            moment: `before` or `after` the timing.
            inputs: What the outputs are of.
            model_hash: Of its model: cases of other weights have references of their own.

        Raises:
            AccuracyFailed: An output is too far from the reference's.
            Invalid: Outputs are not those that the reference has.
            GateFailed: They cannot be right whatever the reference says.
        """
        for place, size in enumerate(member.sizes):
            found = []
            for set_ in range(min(COMPARED_SETS, member.slots.sets)):
                outputs = dict(member.outputs(member.slots.of(place, set_)))
                found.append(outputs)
                self._check(member, moment, (model_hash, size, set_), outputs)
            hashes = [inputs.digest(member.sizes_at(place), set_) for set_ in range(len(found))]
            check_following(hashes, found)
        failed = [row for row in member.accuracy if row["verdict"] == "fail"]
        if failed:
            raise AccuracyFailed(f"{failed[0]['moment']} the timing, {failed[0]['output']}: {failed[0]['reason']}")

    def _check(self, member: Member, moment: str, key: Key, outputs: accuracy.Outputs) -> None:
        if key not in self.outputs:
            if member.case.session.precision != "fp32":
                if moment == "before":
                    member.warn("R02", None, None, "outputs were not checked: no fp32 case came before it")
                return
            check_alive(outputs)
            self.outputs[key] = outputs
            self.names[key] = member.case.session.entry.label
        for name, output, wanted in accuracy.match(outputs, self.outputs[key]):
            metrics = accuracy.compare(output, wanted, member.case.session.precision)
            member.accuracy.append(
                {
                    "case_id": member.case.case_id,
                    "cohort": member.case.cohort_id,
                    "moment": moment,
                    "invocation": member.number,
                    "input_set": key[2],
                    "reference": self.names[key],
                    "output": name,
                    "batch": key[1] if member.case.sequence else member.case.batch,
                    **metrics,
                }
            )
