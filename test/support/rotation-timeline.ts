/** What happens when. Moments are milliseconds since the history began. */
export interface Timeline {
  now(): number;
  /** Does something at a moment; at once for a moment that has passed. */
  at(moment: number, act: () => Promise<void>): void;
  /** Resolves when there is nothing left to do. Rejects with what the first of the acts rejects with. */
  run(): Promise<void>;
}

/** A timeline whose clock jumps from one act to the next. */
export class FakeTimeline implements Timeline {
  #now = 0;
  /** The next one last. */
  readonly #queue: { moment: number; act: () => Promise<void> }[] = [];

  now(): number {
    return this.#now;
  }

  at(moment: number, act: () => Promise<void>): void {
    const behind = this.#queue.findLastIndex((other) => other.moment > moment);
    this.#queue.splice(behind + 1, 0, { moment, act });
  }

  async run(): Promise<void> {
    for (let next = this.#queue.pop(); next !== undefined; next = this.#queue.pop()) {
      this.#now = Math.max(this.#now, next.moment);
      await next.act();
    }
  }
}

/** A timeline in real time, so many times as fast. What is due at the same time is done at the same time. */
export class RealTimeline implements Timeline {
  readonly #speed: number;
  readonly #beganAt = performance.now();
  #waiting = 0;
  #isOver = () => {};
  #hasFailed: (error: unknown) => void = () => {};
  readonly #over = new Promise<void>((resolve, reject) => {
    this.#isOver = resolve;
    this.#hasFailed = reject;
  });

  constructor(speed: number) {
    this.#speed = speed;
  }

  now(): number {
    return (performance.now() - this.#beganAt) * this.#speed;
  }

  at(moment: number, act: () => Promise<void>): void {
    this.#waiting++;
    const done = () => {
      this.#waiting--;
      if (this.#waiting === 0) this.#isOver();
    };
    setTimeout(() => act().then(done, this.#hasFailed), (moment - this.now()) / this.#speed);
  }

  run(): Promise<void> {
    return this.#over;
  }
}
