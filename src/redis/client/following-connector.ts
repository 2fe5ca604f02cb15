import { type Redis, type SentinelConnectionOptions, SentinelConnector } from 'ioredis';
import { isConnectionLoss } from './errors';
import { mendConnection } from './mended-connection';

/** Milliseconds of silence after which the system sends keepalives, on connections to servers and sentinels. */
export const KEEP_ALIVE_MS = 10_000;

type Connect = SentinelConnector['connect'];
type ErrorEmitter = Parameters<Connect>[0];
type Ask = (...args: unknown[]) => Promise<unknown>;

/**
 * ioredis's connector for sentinels, without two faults. The watch over the last connection goes on while the next one
 * is made, and a promotion announced then breaks the attempt off for good. And the error of an unreachable sentinel
 * says only that its connection is closed.
 */
export class FollowingConnector extends SentinelConnector {
  #emit: ErrorEmitter = () => undefined;
  /** Why each sentinel of this round leads to no master. */
  #refusals: string[] = [];

  constructor(options: SentinelConnectionOptions) {
    super(options);
    mendSentinels(this);
  }

  override connect(...[emit]: Parameters<Connect>): ReturnType<Connect> {
    this.disconnect();
    this.#refusals = [];
    this.#emit = emit;
    return super.connect((type, error) => {
      const explained = this.#explained(type, error);
      if (explained !== null) emit(type, explained);
    });
  }

  override check(...args: Parameters<SentinelConnector['check']>): boolean {
    const isMaster = super.check(...args);
    if (!isMaster) this.#emit('error', new Error('the sentinels lead to a server that is not a master'));
    return isMaster;
  }

  /** Gives `null` where ioredis reports the end of its list without having asked a sentinel. */
  #explained(type: string, error: Error): Error | null {
    if (type === 'sentinelError') this.#refusals.push(error.message);
    if (type !== 'error') return error;
    const refusals = this.#refusals;
    this.#refusals = [];
    return refusals.length === 0 ? null : new Error(`no sentinel named the master: ${refusals.join('; ')}`);
  }
}

/**
 * Has a connection to a sentinel that fails say why. ioredis subscribes to other sentinels without listening to their
 * errors, and so prints one every few seconds while a sentinel is away. It also subscribes once it reaches the master,
 * even if the client was closed meanwhile.
 */
function mendSentinels(connector: SentinelConnector): void {
  const own = connector as unknown as {
    connecting?: boolean;
    connectToSentinel: (endpoint: unknown, options?: object) => Redis & { sentinel: Ask };
    initFailoverDetector: () => Promise<void>;
  };
  const listen = own.initFailoverDetector.bind(connector);
  own.initFailoverDetector = async () => {
    if (own.connecting !== false) await listen();
  };
  const connectToSentinel = own.connectToSentinel.bind(connector);
  own.connectToSentinel = (endpoint, options) => {
    // The first command connects.
    const later = { lazyConnect: true, keepAlive: KEEP_ALIVE_MS, disableClientInfo: true };
    const redis = mendConnection(connectToSentinel(endpoint, { ...later, ...options }));
    let reason: Error | null = null;
    redis.on('error', (error: Error) => {
      if (!isConnectionLoss(error)) reason ??= error;
    });
    const ask = redis.sentinel.bind(redis);
    redis.sentinel = (...args) =>
      ask(...args).catch((error: unknown) => {
        throw reason ?? error;
      });
    return redis;
  };
}
