/*
 * Signs texts as long as a token: `hmac-contestant.ts`. A question names a way and the milliseconds for which it signs;
 * the answer is the number of signatures.
 */
import { createHmac, createSecretKey, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { answerQuestions } from './child';

/** Not an export of the package. */
const { HmacSha256 } = require(join(__dirname, 'node_modules/tokensession/dist/token/hmac.js')) as {
  HmacSha256: new (key: Buffer, maxTextBytes: number) => { digest(text: string): string };
};

/** The length of the signed part of a token that was never rotated. */
const SIGNED_LENGTH = 65;
const TEXTS = Array.from({ length: 1000 }, () =>
  randomBytes(SIGNED_LENGTH).toString('base64url').slice(0, SIGNED_LENGTH),
);
const KEY = randomBytes(32);
const ours = new HmacSha256(KEY, SIGNED_LENGTH);
const keyObject = createSecretKey(KEY);

const WAYS = {
  'two hashes': (text: string) => ours.digest(text),
  createHmac: (text: string) => createHmac('sha256', KEY).update(text).digest('base64url'),
  'createHmac, KeyObject': (text: string) => createHmac('sha256', keyObject).update(text).digest('base64url'),
};

interface Question {
  way: keyof typeof WAYS;
  durationMs: number;
}

function signFor({ way, durationMs }: Question): number {
  const sign = WAYS[way];
  let signatures = 0;
  for (const began = performance.now(); performance.now() < began + durationMs; ) {
    for (const text of TEXTS) sign(text);
    signatures += TEXTS.length;
  }
  return signatures;
}

const outcomes = Object.values(WAYS).map((sign) => sign(TEXTS[0] as string));
if (new Set(outcomes).size !== 1) throw new Error('the ways sign differently');
answerQuestions((question) => signFor(question as Question));
