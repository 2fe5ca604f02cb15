import { isUnconfirmed } from '../errors/session-error';

/** Notifies listeners of the outcome of a call, even when replication is unconfirmed. */
export async function reportOutcome<Outcome>(
  call: Promise<Outcome>,
  report: (outcome: Outcome) => void,
): Promise<Outcome> {
  try {
    const outcome = await call;
    report(outcome);
    return outcome;
  } catch (error) {
    if (isUnconfirmed(error) && error.outcome !== undefined) report(error.outcome as Outcome);
    throw error;
  }
}
