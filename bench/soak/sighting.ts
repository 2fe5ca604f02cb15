/** A reply of Redis. */
export interface Sighting {
  begun: number;
  settled: number;
}
