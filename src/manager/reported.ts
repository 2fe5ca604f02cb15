import { isEnded } from '../errors/session-error';

/** Gives the outcome of a call, and reports it first: also one that was reached although replication is unconfirmed. */
export async function reported<Outcome>(call: Promise<Outcome>, report: (outcome: Outcome) => void): Promise<Outcome> {
  try {
    const outcome = await call;
    report(outcome);
    return outcome;
  } catch (error) {
    if (isEnded(error) && error.outcome !== undefined) report(error.outcome as Outcome);
    throw error;
  }
}
