"""Mutations of the source, each of which must make a named test fail.

    python tests/mutations.py [NAME...]

Each is applied to a copy of the package in a temporary folder that stands first on PYTHONPATH, for the test and for
the nodes and workers that it starts. A mutation that survives means that the named test proves nothing. First
the named test must pass on the unchanged copy: one that fails anyway proves nothing either.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Mutation:
    """One place of one file, and the test that must notice."""

    name: str
    file: str
    old: str
    new: str
    test: str


MUTATIONS = (
    Mutation(
        "a policy check removed",
        "policy/judge.py",
        "def _join(need: Need, grant: Grant, join: JoinNeed) -> list[Finding]:\n",
        "def _join(need: Need, grant: Grant, join: JoinNeed) -> list[Finding]:\n    return []\n\n\n"
        "def _join_before(need: Need, grant: Grant, join: JoinNeed) -> list[Finding]:\n",
        "tests/node/test_policy_nodes.py::test_the_one_row_attack_is_refused_by_the_owner",
    ),
    Mutation(
        "a share sent without its mask",
        "protocols/pairwise_masks.py",
        "        return masks.masked(\n",
        "        return masks.encode(values)\n        return masks.masked(\n",
        "tests/wire/test_wire.py::test_whole_totals_show_no_value_and_no_own_sum",
    ),
    Mutation(
        "a quota not debited",
        "node/jobs/release.py",
        "        if known is not None:\n            return None\n",
        "        if True:\n            return None\n",
        "tests/node/test_policy_nodes.py::test_the_quota_of_runs",
    ),
    Mutation(
        "who issued a consent is not checked",
        "agreements/consent.py",
        "    if consent.issuer not in (set(issuers) or {asker}):\n",
        "    if False:\n",
        "tests/evidence/test_consents.py::test_presented_calls_are_checked_by_the_owner",
    ),
    Mutation(
        "a holder's number of rows revealed in a receipt",
        "agreements/receipt.py",
        '    if not any(s.what == "size" and s.owner == party for s in derived.disclosures) ',
        "    if False ",
        "tests/evidence/test_receipts.py::test_a_receipt_of_totals_states_nobodys_number_of_rows",
    ),
    Mutation(
        "a block of calls not debited",
        "node/jobs/release.py",
        "            charged += self._charge_calls(session, row, derivation, decision.calls_left, block)\n",
        "",
        "tests/node/test_metering.py::test_services_at_the_same_time_share_the_calls_of_a_day",
    ),
    Mutation(
        "the step of an outcome is not checked at the gate",
        "scripts/outputs.py",
        " or (value - low) % declared.step:",
        ":",
        "tests/script_nodes/test_calls.py::test_whatever_fails_inside_is_no_decision_for_that_call_alone",
    ),
    Mutation(
        "a held answer leaves before a steward's word",
        "node/scripts/decisions.py",
        '    if state == _HELD:\n        return {**answer, "status": _HELD, "answer": None}\n',
        "",
        "tests/script_nodes/test_calls.py::test_a_large_amount_waits_for_a_steward",
    ),
    Mutation(
        "bits of a subject not debited",
        "node/scripts/decisions.py",
        '"millibits": row["millibits"],',
        '"millibits": 0,',
        "tests/script_nodes/test_calls.py::test_the_budget_of_a_subject_ends_and_counts_every_version",
    ),
    Mutation(
        "a hidden join's minimum not compared",
        "protocols/hidden_totals.py",
        "    totals = HiddenTotals(bool(bit ^ exchange.heard[0]))\n",
        "    totals = HiddenTotals(True)\n",
        "tests/node/test_join_totals.py::test_the_minimum_is_of_keys_and_fewer_open_nothing_but_are_charged",
    ),
    Mutation(
        "the word of who learns only whether enough match not asked for",
        "functions/join_totals/run.py",
        "        before_open=lambda: context.before_open([peer]),\n",
        "        before_open=lambda: None,\n",
        "tests/node/test_join_totals.py::test_who_receives_nothing_gives_its_word_too_since_it_learns_whether_there_are_enough",
    ),
    Mutation(
        "a looked-up key shows in its call",
        "functions/query/asker.py",
        '            {"salt": self._salt(), "commitment"',
        '            {"salt": digests[:16], "commitment"',
        "tests/wire/test_query_wire.py::test_neither_keys_nor_records_cross",
    ),
    Mutation(
        "fillers of one bucket of statistics serve in all of them",
        "functions/join_statistics/run.py",
        '        name = f"{STEP}/{number}"\n',
        "        name = STEP\n",
        "tests/functions/test_join_statistics_run.py::test_every_bucket_has_own_rows_and_fillers_of_its_own",
    ),
    Mutation(
        "a sum of products with own columns is said to tell no single value",
        "plan/operators/open.py",
        '    return len({o.input for o in column.origins if o.tells == "matched_moments"}) > 1\n',
        "    return False\n",
        "tests/plan/test_statistics.py::test_a_product_with_own_columns_says_that_it_could_tell_single_values",
    ),
    Mutation(
        "statistics of too few keys open",
        "functions/join_statistics/program.py",
        "        kept: Any = cells[name] if name in cells else np.where(enough, value, 0)\n",
        "        kept: Any = cells[name] if name in cells else value\n",
        "tests/functions/test_join_statistics_run.py::test_cells_that_open_are_those_of_the_rule",
    ),
    Mutation(
        "a small cell of a histogram stands alone, so that it can be subtracted",
        "functions/join_statistics/program.py",
        "    withheld = low | second | ~enough\n",
        "    withheld = low | ~enough\n",
        "tests/functions/test_join_statistics_run.py::test_worked_examples_of_the_rule",
    ),
    Mutation(
        "totals open for which no minimum group was kept",
        "plan/operators/open.py",
        "    if source.release is None:\n",
        "    if False:\n",
        "tests/plan/test_statistics.py::test_what_is_wrong_is_named",
    ),
    Mutation(
        "statistics open before the node has stored receipts and charges",
        "functions/join_statistics/run.py",
        "    if peer in receivers:\n",
        "    if False:\n",
        "tests/node/test_join_statistics.py::test_who_receives_nothing_learns_nothing_and_gives_no_word",
    ),
    Mutation(
        "a difference of shared words opens without the triple's mask",
        "mpc/additive.py",
        "        d, e = yield from self._both_open(ring.subtract(x_own, a), ring.subtract(y_own, b), bits=False)\n",
        "        d, e = yield from self._both_open(x_own, ring.subtract(y_own, b), bits=False)\n",
        "tests/mpc/test_additive.py::test_whatever_crosses_is_uniform",
    ),
    Mutation(
        "shares are divided that are not uniform",
        "mpc/additive.py",
        "own, passed = yield from self._passed((yield from self.uniform(x)), bias)",
        "own, passed = yield from self._passed(x, bias)",
        "tests/mpc/test_holding.py::test_rounding_is_exact_where_nothing_is_cut_off_and_right_in_the_mean",
    ),
    Mutation(
        "what one party knew counts as its own after another's was added",
        "mpc/shares.py",
        "    mine = sides.pop() if len(sides) == 1 else None\n",
        "    mine = sides.pop()\n",
        "tests/mpc/test_holding.py::test_every_combination_of_owners_gives_numpys_results",
    ),
    Mutation(
        "what is kept for a matrix goes when a party drops an array",
        "mpc/kept.py",
        "weakref.finalize(array, values.clear)",
        "weakref.finalize(array, self._entries.clear)",
        "tests/mpc/test_kept.py::test_the_same_whenever_a_party_lets_go_of_an_array",
    ),
    Mutation(
        "a triple serves twice",
        "mpc/supply.py",
        "        self._arrays = tuple(a[c:] for a, c in zip(self._arrays, cuts, strict=True))\n",
        "        self._arrays = tuple(a[0 * c:] for a, c in zip(self._arrays, cuts, strict=True))\n",
        "tests/mpc/test_additive.py::test_nothing_that_is_made_ahead_serves_twice",
    ),
    Mutation(
        "a table of a comparison tells what it should share",
        "mpc/digits.py",
        "            masks = self._masks.before((digits.planes, blocks))\n",
        "            masks = np.zeros((digits.planes, blocks), np.uint64)\n",
        "tests/mpc/test_digits.py::test_shares_of_digits_are_uniform",
    ),
    Mutation(
        "the bits of a comparison go out as they are",
        "crypto/digits.py",
        "        return _flat(numbers.T).reshape(-1) ^ choices\n",
        "        return _flat(numbers.T).reshape(-1)\n",
        "tests/mpc/test_digits.py::test_what_crosses_is_uniform_and_as_much_in_both_directions",
    ),
    Mutation(
        "a party's part of a product is sent without its part of zero",
        "crypto/arrays.py",
        "            out = self._core.products(_flat(x[0]), _flat(x[1]), _flat(y[0]), _flat(y[1]))\n",
        "            out = (x[0] * (y[0] + y[1]) + x[1] * y[0]).tobytes()\n",
        "tests/mpc/test_replicated.py::test_whatever_crosses_is_uniform",
    ),
    Mutation(
        "an owner outside sends its input without the drawn shares taken off",
        "mpc/outside.py",
        "            rest = rest ^ drawn if bits else ring.subtract(rest, drawn)\n",
        "            rest = rest\n",
        "tests/mpc/test_outside.py::test_whatever_crosses_is_uniform",
    ),
    Mutation(
        "what opens to a party outside leaves without its mask",
        "mpc/outside.py",
        "                masked = whole ^ mask if bits else ring.add(whole, mask)\n",
        "                masked = whole\n",
        "tests/mpc/test_outside.py::test_the_words_that_open_are_fresh",
    ),
    Mutation(
        "the digests of the parties' programs are not compared",
        "mpc/session.py",
        "            if (got[party] != mine).any():\n",
        "            if False:\n",
        "tests/mpc/test_outside.py::test_another_program_is_refused_by_name_before_anything_opens",
    ),
    Mutation(
        "constants are left out of the digest of a program",
        "mpc/noted.py",
        '        return f"function {value.__qualname__}{_all((value.__defaults__, *_closed(value)), within)}"\n',
        '        return f"function {value.__qualname__}"\n',
        "tests/mpc/test_outside.py::test_another_program_is_refused_by_name_before_anything_opens",
    ),
    Mutation(
        "the upper half of a wide share is not masked",
        "mpc/wide.py",
        "    return shaped(draw((*shape, 2)), shape, True) if wide else draw(shape)\n",
        "    return unsigned(draw(shape)) if wide else draw(shape)\n",
        "tests/mpc/test_wide.py::test_whatever_crosses_is_uniform",
    ),
    Mutation(
        "a party's part of a wide product is sent without its part of zero",
        "crypto/arrays.py",
        "            out = self._core.wide_products(_flat(x[0]), _flat(x[1]), _flat(y[0]), _flat(y[1]))\n",
        "            out = _core.array_wide_plain('*', _flat(x[0]), _flat(y[0]))\n",
        "tests/mpc/test_wide.py::test_whatever_crosses_is_uniform",
    ),
    Mutation(
        "a message of shares of another length is taken",
        "mpc/rounds.py",
        "        if len(message) != _WORD * words:\n",
        "        if len(message) % _WORD:\n",
        "tests/mpc/test_replicated.py::test_a_message_of_another_length_is_refused_by_name",
    ),
    Mutation(
        "keys of a lookup are not held to the rate",
        "functions/query/host.py",
        "                self._context.admit(shown)\n",
        "                pass\n",
        "tests/node/test_query.py::test_each_key_is_charged_once_and_no_more_than_the_rate_allows",
    ),
    Mutation(
        "a lookup answers from a version of its table that is over",
        "functions/query/host.py",
        "            if local.version == known:\n",
        "            if self._version:\n",
        "tests/node/test_query.py::test_versions_change_under_load_and_every_answer_is_right",
    ),
    Mutation(
        "a lookup without a hint is answered with the hint of a version that is over",
        "functions/query/one_shot.py",
        "            self._products.apply(delta)\n",
        "            pass\n",
        "tests/functions/test_query_one_shot.py::test_each_request_is_answered_from_one_version",
    ),
    Mutation(
        "keys of lookup totals are not held to quota and authorisation",
        "functions/query_totals/host.py",
        "                self._context.admit(word)\n",
        "                pass\n",
        "tests/functions/test_query_totals_run.py::test_a_call_that_one_holder_refuses_opens_nothing_and_the_others_are_right",
    ),
    Mutation(
        "a call of lookup totals that its holder refused goes on there",
        "functions/query_totals/host.py",
        "self._peer.read(GO), admitted)",
        "self._peer.read(GO), list(range(len(calls))))",
        "tests/functions/test_query_totals_cheating.py::test_an_asker_that_makes_a_call_which_the_holder_refused_is_named",
    ),
    Mutation(
        "a holder's words of lookup totals open without their masks",
        "functions/query_totals/host.py",
        "        found = masks.masked(\n",
        '        if words:\n            return b"".join(word.to_bytes(WORD_BYTES, "little") for word in words)\n'
        "        found = masks.masked(\n",
        "tests/functions/test_query_totals_views.py::test_the_asker_cannot_guess_whose_the_key_is",
    ),
    Mutation(
        "a total of shares that give none is taken",
        "functions/query_totals/asker.py",
        "                if fits(total, self._parameters):\n",
        "                if True:\n",
        "tests/functions/test_query_totals_cheating.py::test_a_call_whose_shares_are_wrong_has_an_error_and_no_total",
    ),
)


def _copy(folder: Path) -> Path:
    shutil.copytree(ROOT / "atoll", folder / "atoll", ignore=shutil.ignore_patterns("__pycache__"))
    return folder / "atoll"


def _passes(test: str, folder: Path) -> tuple[bool, str]:
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    # From another folder, so that the package beside the tests is not found before the copy.
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"{ROOT}/{test}"],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{test} could not run:\n{done.stdout[-3000:]}{done.stderr[-2000:]}")
    return done.returncode == 0, done.stdout


def check(mutation: Mutation) -> str | None:
    """Applies one mutation; None if its test noticed, else what is wrong.

    Raises:
        RuntimeError: the test could not be run at all.
    """
    with tempfile.TemporaryDirectory(prefix="atoll-mutation-") as name:
        folder = Path(name)
        package = _copy(folder)
        good, said = _passes(mutation.test, folder)
        if not good:
            return f"{mutation.test} fails without the mutation:\n{said[-3000:]}"
        file = package / mutation.file
        text = file.read_text(encoding="utf-8")
        if text.count(mutation.old) != 1:
            return f"{mutation.file} does not hold the place once: {mutation.old!r}"
        file.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
        survived, said = _passes(mutation.test, folder)
        if survived:
            return f"{mutation.test} passes although there is {mutation.name}"
        if "error" in said.splitlines()[-1] and "failed" not in said.splitlines()[-1]:
            return f"{mutation.test} broke before it could fail:\n{said[-3000:]}"
        return None


def main(wanted: list[str]) -> int:
    """Checks all mutations, or those named; the number that survived."""
    survivors = 0
    for mutation in MUTATIONS:
        if not wanted or mutation.name in wanted:
            wrong = check(mutation)
            survivors += wrong is not None
            print(f"{mutation.name}: {wrong or 'noticed by ' + mutation.test}", flush=True)
    return survivors


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
