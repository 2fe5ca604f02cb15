import { setTimeout as sleep } from 'node:timers/promises';
import { isUnavailable } from '../errors/session-error';
import type { Rotation } from '../store/store';
import type { RedisConnection } from './connection';
import type { Call, PunctualScripts } from './deadline';
import { FOUND_TIMING, type FoundReply, idsIn, TUPLE_TIMING, type TupleReply } from './replies';

/** Milliseconds between two tries to take a rotation back, and for how long there are any. */
const RETRY_MS = 200;
const GIVE_UP_MS = 60_000;

/**
 * Rotates sessions. When a rotation's answer is lost, it may have been carried out all the same: its new token is nobody's, and the old
 * one would soon be taken for stolen. So it is taken back as soon as Redis can be asked, and the user goes on with the token they have.
 */
export class Rotations {
  readonly #connection: RedisConnection;
  readonly #scripts: PunctualScripts;
  #isClosed = false;

  constructor(connection: RedisConnection, scripts: PunctualScripts) {
    this.#connection = connection;
    this.#scripts = scripts;
  }

  async rotate(call: Call, sid: string, { newSid, graceMs, onReuse }: Rotation): Promise<FoundReply> {
    const script = {
      name: 'rotate',
      args: (latest: number) => [sid, latest, newSid, graceMs, onReuse],
      timing: FOUND_TIMING,
    } as const;
    try {
      return await this.#scripts.run<FoundReply>(call, script);
    } catch (error) {
      if (isUnavailable(error)) void this.#takeBack(call, sid, newSid);
      throw error;
    }
  }

  /**
   * Ends the session of a rotated token that was used after its grace; gives its ids, none when there is no such session any more. A call of
   * its own: the one that found out may have come late, and its token was good when it was sent.
   */
  async endReused(call: Call, sid: string): Promise<string[]> {
    const [, ids = ''] = await this.#scripts.run<TupleReply>(call, {
      name: 'endReused',
      args: (latest) => [sid, latest],
      timing: TUPLE_TIMING,
    });
    return idsIn(ids);
  }

  close(): void {
    this.#isClosed = true;
  }

  /** Not before the deadline, after which Redis won't carry it out any more. */
  async #takeBack({ key, deadline }: Call, sid: string, newSid: string): Promise<void> {
    await sleep(Math.max(0, deadline - performance.now()), undefined, { ref: false });
    while (!this.#isClosed && performance.now() < deadline + GIVE_UP_MS) {
      const isDone = await this.#connection.runAside('unrotate', key, [sid, newSid]).then(
        () => true,
        (error: unknown) => !isUnavailable(error),
      );
      if (isDone) return;
      await sleep(RETRY_MS, undefined, { ref: false });
    }
  }
}
