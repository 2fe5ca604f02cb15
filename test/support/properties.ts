import fc from 'fast-check';
import { checkPrototypes, prototypeState } from './prototypes';
import { runs } from './runs';

/** Runs a property many times, and checks after each run that no built-in prototype has changed. */
export async function holds<Given extends [unknown, ...unknown[]]>(
  usual: number,
  given: { [Index in keyof Given]: fc.Arbitrary<Given[Index]> },
  predicate: (...given: Given) => Promise<void>,
): Promise<void> {
  const before = prototypeState();
  const property = fc.asyncProperty<Given>(...given, predicate).afterEach(() => checkPrototypes(before));
  await fc.assert(property, runs<Given>(usual));
}
