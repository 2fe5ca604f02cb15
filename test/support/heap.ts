import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** The bytes of the heap that are in use after a full collection. */
export function usedHeap(): number {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
  return process.memoryUsage().heapUsed;
}

/** A text as it comes in a request: a part of a longer one, 100,000 characters. */
export function inHeader(text: string): string {
  return Buffer.from(`${text}${'x'.repeat(100_000)}`)
    .toString()
    .slice(0, text.length);
}
