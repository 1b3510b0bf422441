"""The outputs that the cases of one cohort are compared with."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchfw.errors import BackendError
from benchfw.measure import accuracy
from benchfw.measure.member import Member


class AccuracyFailed(BackendError):
    """Outputs are too far from the reference's: the timing is worth nothing."""

    status = "ACCURACY_FAIL"


@dataclass
class References:
    """Outputs, and whose they are, by the size of the varying axis."""

    names: dict[int, str] = field(default_factory=dict)
    outputs: dict[int, accuracy.Outputs] = field(default_factory=dict)

    @property
    def name(self) -> str | None:
        """The backend that gave the first ones."""
        return next(iter(self.names.values()), None)

    def check(self, member: Member, moment: str) -> None:
        """Compare a case's outputs with the reference's; the first fp32 case becomes it where there is none yet.

        Args:
            member: The case; gets the rows of the comparison.
            moment: `before` or `after` the timing.

        Raises:
            AccuracyFailed: An output is too far from the reference's.
            Invalid: Outputs are not those that the reference has.
        """
        for slot, size in enumerate(member.sizes):
            outputs = dict(member.outputs(slot))
            if size not in self.outputs:
                if member.case.session.precision != "fp32":
                    if moment == "before":
                        member.warn("R02", None, None, "outputs were not checked: no fp32 case came before it")
                    continue
                self.outputs[size] = outputs
                self.names[size] = member.case.session.entry.label
            self._compare(member, size, outputs, moment)
        failed = [row for row in member.accuracy if row["verdict"] == "fail"]
        if failed:
            raise AccuracyFailed(f"{failed[0]['moment']} the timing, {failed[0]['output']}: {failed[0]['reason']}")

    def _compare(self, member: Member, size: int, outputs: accuracy.Outputs, moment: str) -> None:
        for name, output, wanted in accuracy.match(outputs, self.outputs[size]):
            metrics = accuracy.compare(output, wanted, member.case.session.precision)
            member.accuracy.append(
                {
                    "case_id": member.case.case_id,
                    "cohort": member.case.cohort_id,
                    "moment": moment,
                    "reference": self.names[size],
                    "output": name,
                    "batch": size if member.case.sequence else member.case.batch,
                    **metrics,
                }
            )
