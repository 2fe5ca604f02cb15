import type { ServerResponse } from 'node:http';

const diverted = new WeakSet<ServerResponse>();

/**
 * Passes an error to the host's error handling in the place of the answer that the application is about to send. For a
 * mistake that shows up in a callback, where an error that is thrown would end the process.
 */
export function divertAnswer(res: ServerResponse, next: (error: Error) => void, error: Error): void {
  if (diverted.has(res)) return;
  diverted.add(res);
  if (res.headersSent) {
    setImmediate(next, error);
    return;
  }
  const { end, write, writeHead, statusCode } = res;
  const headers = res.getHeaders();
  const swallow = (...args: unknown[]) => {
    const done = args.at(-1);
    if (typeof done === 'function') setImmediate(done as () => void);
    return true;
  };
  const divert = (...args: unknown[]) => {
    swallow(...args);
    Object.assign(res, { end, write, writeHead, statusCode });
    for (const name of res.getHeaderNames()) res.removeHeader(name);
    for (const [name, value] of Object.entries(headers)) if (value !== undefined) res.setHeader(name, value);
    // Not within the call of a handler that goes on after its answer.
    setImmediate(next, error);
    return res;
  };
  Object.assign(res, { end: divert, write: swallow, writeHead: () => res });
}
