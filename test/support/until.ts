import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 20;

/** Waits until a condition returns something truthy, and returns that. A condition that throws is not met yet. */
export async function until<Result>(
  what: string,
  condition: () => Result | Promise<Result>,
  timeoutMs = 30_000,
): Promise<NonNullable<Result>> {
  const deadline = performance.now() + timeoutMs;
  let reason: unknown;
  for (;;) {
    const left = deadline - performance.now();
    if (left <= 0) throw new Error(`waited ${timeoutMs} ms in vain until ${what}`, { cause: reason });
    try {
      const result = await within(left, what, Promise.resolve(condition()));
      if (result) return result;
      reason = undefined;
    } catch (error) {
      reason = error;
    }
    await sleep(POLL_MS);
  }
}

/** The first answer to a call that may fail for a while: a later one could hide that the first was wrong. */
export async function answered<Result>(call: () => Promise<Result>): Promise<Result> {
  const { result } = await until('there is an answer', async () => ({ result: await call() }));
  return result;
}

/** Limits the wait for a promise, with a name for the error: a paused server never answers. */
export async function within<Result>(timeoutMs: number, what: string, promise: Promise<Result>): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no end after ${Math.ceil(timeoutMs)} ms: ${what}`)), timeoutMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
