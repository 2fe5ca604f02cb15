/*
 * A process that watches sessions: `live-watcher.ts <Redis URL> <cache option as JSON>`. It answers when all are
 * watched, and again when the last of some has ended.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { usedHeap } from '../test/support/heap';
import { answerQuestions } from './child';
import { managerOn, PATIENT_MS } from './contestants';
import { monotonicMs } from './monotonic';

const POLL_MS = 20;

export type Question = { task: 'watch'; tokens: string[] } | { task: 'await'; indexes: number[] };

export interface Watching {
  /** Bytes of heap for each watch. */
  bytes: number;
  /** Milliseconds until all sessions were found live. */
  ms: number;
}

function main([url = '', cacheText = '']: string[]): void {
  const sessions = managerOn(url, { cache: JSON.parse(cacheText) }, PATIENT_MS);
  const isUp = new Promise<void>((resolve) => sessions.once('watch-up', () => resolve()));
  let signals: AbortSignal[] = [];

  const watch = async (tokens: string[]): Promise<Watching> => {
    const heapBefore = usedHeap();
    const begin = monotonicMs();
    signals = tokens.map((token) => sessions.watch(token));
    await isUp;
    while (sessions.watched().length < tokens.length) await sleep(POLL_MS);
    const ms = monotonicMs() - begin;
    // The second check, after announcements have begun to arrive, is also over.
    await sleep(2000);
    return { bytes: (usedHeap() - heapBefore) / tokens.length, ms };
  };
  const lastEnd = (indexes: number[]) =>
    new Promise<number>((resolve) => {
      let left = indexes.length;
      for (const index of indexes) {
        signals[index]?.addEventListener('abort', () => {
          left--;
          if (left === 0) resolve(monotonicMs());
        });
      }
    });

  answerQuestions((given) => {
    const question = given as Question;
    return question.task === 'watch' ? watch(question.tokens) : lastEnd(question.indexes);
  });
}

main(process.argv.slice(2));
