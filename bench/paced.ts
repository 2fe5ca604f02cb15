import { setTimeout as sleep } from 'node:timers/promises';
import { quantile } from './quantile';

const TICK_MS = 1;

/** Calls at a constant rate, and how they ended. */
export interface Paced {
  calls: number;
  perSecond: number;
  /** Milliseconds between call and answer. */
  p50: number;
  p99: number;
  max: number;
  /** Calls that rejected or gave a wrong answer. */
  errors: number;
}

export interface Pace {
  perSecond: number;
  durationMs: number;
}

/**
 * Makes calls at a constant rate, whether earlier ones have been answered or not: a slow answer delays no other call,
 * as with the requests of many clients. A process that was held up makes the calls that are due all at once.
 *
 * @param call resolves to whether the answer is right.
 */
export async function callAtRate({ perSecond, durationMs }: Pace, call: () => Promise<boolean>): Promise<Paced> {
  const waits: number[] = [];
  let errors = 0;
  const measure = async () => {
    const calledAt = performance.now();
    const isRight = await call().catch(() => false);
    waits.push(performance.now() - calledAt);
    if (!isRight) errors++;
  };
  const calls: Promise<void>[] = [];
  const began = performance.now();
  for (let passed = 0; passed < durationMs; passed = performance.now() - began) {
    while (calls.length < (passed * perSecond) / 1000) calls.push(measure());
    await sleep(TICK_MS);
  }
  const seconds = (performance.now() - began) / 1000;
  await Promise.all(calls);
  return {
    calls: calls.length,
    perSecond: calls.length / seconds,
    p50: quantile(waits, 0.5),
    p99: quantile(waits, 0.99),
    max: Math.max(...waits),
    errors,
  };
}
