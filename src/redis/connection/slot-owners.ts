/** The owner of each slot of a Cluster, with its replicas, as ioredis keeps them: slots of one range share a list. */
type Slots = readonly (readonly string[] | undefined)[];

export class SlotOwners {
  #owners: (string | undefined)[] = [];

  /** Whether any slot that had an owner when this was last asked has another one now. */
  haveMoved(slots: Slots): boolean {
    const before = this.#owners;
    this.#owners = slots.map((owners) => owners?.[0]);
    return before.some((owner, slot) => owner !== this.#owners[slot]);
  }
}
