"""Turning away the second report of a run's death, which would end the run's next attempt.

Problem: Prefect's process worker reports a process that was killed twice, once when the process is gone and once more
after it has imported the flow to look for hooks. Between the two lie seconds, in which the automation for crashed runs
puts the run back and a worker starts it again. The second report then says of the new attempt that it has crashed: it
is started a third time beside itself, and has used up two of its restarts.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy

# First, and for this alone: Prefect's policies and models import each other, which works from this end only.
from prefect.server import models  # noqa: F401
from prefect.server.database import provide_database_interface
from prefect.server.orchestration.core_policy import CoreFlowPolicy
from prefect.server.orchestration.dependencies import ORCHESTRATION_DEPENDENCIES
from prefect.server.orchestration.policies import FlowRunOrchestrationPolicy
from prefect.server.orchestration.rules import FlowRunOrchestrationRule
from prefect.server.schemas.states import TERMINAL_STATES, StateType

FIRST = "Process exited with status code"
"""How the message of the first report begins; workers that start no processes themselves send none like it."""

SECOND = "Flow run infrastructure exited with non-zero status code"
"""How the message of the second begins. It is the only one of workers that start containers."""


class OneReportPerDeath(FlowRunOrchestrationRule):
    """Refuses to have a run crash by a second report if the same worker has sent a first one before."""

    # What has ended is refused a second end by Prefect itself.
    FROM_STATES: set[StateType | None] = {*StateType} - TERMINAL_STATES
    TO_STATES: set[StateType | None] = {StateType.CRASHED}  # noqa: RUF012 - read by Prefect as it is

    async def before_transition(self, initial_state: Any, proposed_state: Any, context: Any) -> None:
        """Look at the messages of the states that the run has had."""
        if not str(proposed_state.message or "").startswith(SECOND):
            return
        states = provide_database_interface().FlowRunState
        first = sqlalchemy.select(states.id).where(
            states.flow_run_id == context.run.id,
            states.type == StateType.CRASHED,
            states.message.startswith(FIRST),
        )
        if await context.session.scalar(first.limit(1)) is not None:
            await self.abort_transition("The end of this process was reported before.")


class Policy(FlowRunOrchestrationPolicy):
    """Prefect's own rules behind ours."""

    @staticmethod
    def priority() -> list[Any]:
        """Return the rules in their order."""
        return [OneReportPerDeath, *CoreFlowPolicy.priority()]


def turn_away_late_reports() -> None:
    """Have the server of this process follow the rule."""

    async def policy() -> type[FlowRunOrchestrationPolicy]:
        """Return the policy, asked for with every change of a run's state."""
        return Policy

    ORCHESTRATION_DEPENDENCIES["flow_policy_provider"] = policy
