/*
 * Refuses secrets that are easy to guess, because a guessed secret forges tokens. The checks find plain mistakes; they
 * can't know whether a secret is random. No message shows a secret.
 */
import { checkWellFormed, kindOf, MIN_SECRET_LENGTH } from '../errors/arguments';

/**
 * Different characters of a secret, at least. Random hexadecimal text of 32 characters has fewer in less than one of
 * ten million cases.
 */
const MIN_DISTINCT_CHARACTERS = 8;

/** Characters beside a placeholder that make a secret good enough: about 128 bits of letters and digits. */
const MIN_BESIDES_PLACEHOLDERS = 22;

/** Placeholders from documentation, as lower-case letters and digits. */
const PLACEHOLDERS = [
  'astringsecretatleast256bitslong',
  'your256bitsecret',
  'keyboardcat',
  'placeholder',
  'supersecret',
  'yoursecret',
  'changeme',
];

/** The start of a variable or command in a shell, a compose file or a template. */
const TEMPLATE_STARTS = ['${', '$(', '{{', '<%'];
const HOW_TO = 'make one with `openssl rand -base64 32`';

/**
 * @param name the option, for the message.
 * @throws TypeError for a value that is no string. RangeError for one that is not well-formed, too short or easy to
 *   guess.
 */
export function checkSecret(name: string, secret: unknown): string {
  if (typeof secret !== 'string') {
    const hint = secret === undefined ? ' (an environment variable not set?)' : '';
    throw new TypeError(`option ${name} must be a string, got ${kindOf(secret)}${hint}`);
  }
  checkWellFormed(`option ${name}`, secret);
  const weakness = weaknessOf(secret);
  if (weakness !== null) throw new RangeError(`option ${name} ${weakness}; ${HOW_TO}`);
  return secret;
}

/** @throws RangeError for a secret that is listed twice: one of the two was meant to be another. */
export function checkDistinct(secrets: readonly string[]): void {
  for (const [index, secret] of secrets.entries()) {
    const first = secrets.indexOf(secret);
    if (first !== index) throw new RangeError(`option secret[${index}] is the same as secret[${first}]; ${HOW_TO}`);
  }
}

function weaknessOf(secret: string): string | null {
  if (TEMPLATE_STARTS.some((start) => secret.includes(start))) return 'is a template whose variables were not expanded';
  const { length } = secret;
  if (length < MIN_SECRET_LENGTH) return `must have at least ${MIN_SECRET_LENGTH} characters, got ${length}`;
  if (isPlaceholder(secret)) return 'is a well-known placeholder';
  if (isRepetition(secret)) return 'repeats a short text, which is easily guessed';
  if (isSequence(secret)) return 'is a sequence of neighbouring characters, which is easily guessed';
  const distinct = new Set(secret).size;
  if (distinct >= MIN_DISTINCT_CHARACTERS) return null;
  return `must have at least ${MIN_DISTINCT_CHARACTERS} different characters, got ${distinct}`;
}

function isPlaceholder(secret: string): boolean {
  const plain = secret.toLowerCase().replace(/[^\p{L}\p{N}]/gu, '');
  const rest = PLACEHOLDERS.reduce((text, placeholder) => text.replaceAll(placeholder, ''), plain);
  return rest !== plain && rest.length < MIN_BESIDES_PLACEHOLDERS;
}

/** Whether a text repeats a part that is too short for a secret, perhaps cut at the end. */
function isRepetition(secret: string): boolean {
  const longest = Math.min(MIN_SECRET_LENGTH - 1, Math.floor(secret.length / 2));
  return Array.from({ length: longest }, (_, i) => secret.slice(i + 1)).some((shifted) => secret.startsWith(shifted));
}

/** Whether most characters follow their predecessor in order: `abcdef…`, `987654…`. */
function isSequence(secret: string): boolean {
  const steps = Array.from({ length: secret.length - 1 }, (_, i) => secret.charCodeAt(i + 1) - secret.charCodeAt(i));
  return steps.filter((step) => Math.abs(step) === 1).length > secret.length / 2;
}
