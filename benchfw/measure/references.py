"""The outputs that the cases of one cohort are compared with."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchfw.errors import BackendError
from benchfw.measure.gates.outputs import check_alive, check_following, check_unchanged
from benchfw.measure.inputs import InputMaker
from benchfw.measure.member import Member
from benchfw.spec import accuracy

COMPARED_SETS = 4
"""Sets of inputs whose outputs are compared; of the others only that they are launched."""


class AccuracyFailed(BackendError):
    """Outputs are too far from the reference's: the timing is worth nothing."""

    status = "ACCURACY_FAIL"


Key = tuple[str | None, int, int]
"""Hash of the model, size of the varying axis, set of inputs."""


@dataclass
class References:
    """Outputs, and whose they are.

    Attributes:
        names: Of the backend that gave them.
        outputs: By model and inputs.
        own: Those of cases that there is no reference for, by `case_id` too: they are compared with themselves.
    """

    names: dict[Key, str] = field(default_factory=dict)
    outputs: dict[Key, accuracy.Outputs] = field(default_factory=dict)
    own: dict[tuple[str, Key], accuracy.Outputs] = field(default_factory=dict)

    @property
    def name(self) -> str | None:
        """The backend that gave the first ones."""
        return next(iter(self.names.values()), None)

    def check(self, member: Member, moment: str, inputs: InputMaker, model_hash: str | None) -> None:
        """Compare a case's outputs with the reference's; the first fp32 case that passes becomes it if there is none.

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
        fresh: dict[Key, accuracy.Outputs] = {}
        for place, size in enumerate(member.sizes):
            found = []
            for set_ in range(min(COMPARED_SETS, member.slots.sets)):
                outputs = dict(member.outputs(member.slots.of(place, set_)))
                found.append(outputs)
                self._check(member, moment, (model_hash, size, set_), outputs, fresh)
            hashes = [inputs.digest(member.sizes_at(place), set_) for set_ in range(len(found))]
            if not member.settings.may_repeat:
                check_following(hashes, found)  # it tells why outputs are wrong: a reference would only say how far off
        failed = [row for row in member.accuracy if row["verdict"] == "fail"]
        if failed:
            raise AccuracyFailed(f"{failed[0]['moment']} the timing, {failed[0]['output']}: {failed[0]['reason']}")
        _tell_widened(member)
        self.outputs |= fresh  # not before: outputs that failed must not fail those of others
        self.names |= dict.fromkeys(fresh, member.case.session.entry.label)

    def _check(
        self, member: Member, moment: str, key: Key, outputs: accuracy.Outputs, fresh: dict[Key, accuracy.Outputs]
    ) -> None:
        if key not in self.outputs:
            check_alive(outputs, may_repeat=member.settings.may_repeat)
            if member.case.session.precision != "fp32" or not member.keeps_precision:
                if moment == "before":
                    member.warn("R02", None, None, "outputs were not checked: no fp32 case came before it")
                before = self.own.setdefault((member.case.case_id, key), outputs)
                check_unchanged(before, outputs, member.case.session.precision)
                return
            fresh[key] = outputs
        session, wanted = member.case.session, self.outputs.get(key, outputs)
        compared = accuracy.compare_all(outputs, wanted, session.precision, session.tolerance)
        for name, metrics in compared.items():
            member.accuracy.append(
                {
                    "case_id": member.case.case_id,
                    "cohort": member.case.cohort_id,
                    "moment": moment,
                    "invocation": member.number,
                    "input_set": key[2],
                    "reference": self.names.get(key, member.case.session.entry.label),
                    "output": name,
                    "batch": key[1] if member.case.sequence else member.case.batch,
                    **metrics,
                }
            )


def _tell_widened(member: Member) -> None:
    """Say so, once, if outputs pass only because the scenario allows more than the default of their precision."""
    rows = [row for row in member.accuracy if row["default_verdict"] == "fail"]
    member.warnings = [warning for warning in member.warnings if warning["code"] != "R05"]
    if rows:
        farthest = max(rows, key=lambda row: row["rel_l2"])
        precision = member.case.session.precision
        table = f"[accuracy.tolerance.{precision}]"
        member.warn(
            "R05",
            farthest["rel_l2"],
            accuracy.TOLERANCES[precision].rel_l2,
            f"{farthest['output']}: {farthest['reason']}; only {table} lets it pass: say so where you quote the number",
        )
