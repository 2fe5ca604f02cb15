/*
 * What may sign tokens. A secret that others can guess lets them forge tokens offline, so what is in documentation, or was typed to
 * fill a field, is refused when the manager is built. No message shows a secret.
 */
import { kindOf, MIN_SECRET_LENGTH } from '../errors/arguments';

/** Random text of 32 characters has more by far, be it of hexadecimal digits. */
const MIN_DISTINCT_CHARACTERS = 8;

/** About 128 bits of letters and digits: with so much besides a placeholder's words, a secret is one. */
const MIN_BESIDES_PLACEHOLDER = 22;

const HOW_TO = 'make one with `openssl rand -base64 32`';

/**
 * What documentation shows in the place of a secret, without case, spaces and punctuation. Each has 8 letters or more, which a random
 * base64 text of 44 characters holds once in 10¹⁰.
 */
const PLACEHOLDER = new RegExp(
  [
    'keyboardcat', // express-session
    'complexpasswordatleast32characterslong', // iron-session
    'a?stringsecretatleast\\d+bitslong', // jwt.io
    '(?:your|my)\\d+bitsecret', // jwt.io, before
    '(?:your|my|our|the|a)?(?:super|very|top|really|ultra)+(?:secret|secure)',
    '(?:your|my|our)(?:own|app|jwt|auth|cookie|session|token|random|strong|secure|long|production|private)*(?:secret|password)',
    '(?:jwt|auth|cookie|session|token|app|private|nextauth|encryption|signing)secret(?:key|here|value|string)',
    'secret(?:key|value|string)?(?:goes)?here',
    '(?:change|replace)(?:me|this|it|in|with|before)',
    '(?:changed|replaced)(?:in|before|for)production',
    'placeholder',
    'thisisa(?:n|very|not|notso|super)*(?:secret|password|example|sample)',
    '(?:insert|enter|put|paste)(?:your|a|the)[a-z]*secret',
    'donotuse(?:this|in)',
    'atleast(?:32|64|256)(?:char|byte|bit)',
    'passwordpassword',
    'correcthorsebatterystaple',
    'qwertyuiop',
    'loremipsum',
    'quickbrownfox',
    'asecretfortests32ormore',
    'randomcharacters',
    'randomstring',
    '(?:development|local|dev)(?:only|secret)',
    'notfor(?:production|use)',
    'processenv',
  ].join('|'),
  'g',
);

/** What stands around a placeholder in its sentence. */
const FILLER =
  /please|change|chars|min|lazy|dog|jumps|over|goes|here|asdfghjkl|zxcvbnm|1234567890|0123456789|dolor|sit|amet|consectetur|adipiscing|elit|replace|insert|secret|password|random|strong|secure|character|string|token|session|cookie|production|development|environment|default|example|sample|value|least|minimum|should|must|your|this|that|with|some|very|super|long|bits|bytes|before|deploy|using|something|else|key/g;

/**
 * @param name the option, for the message.
 * @throws TypeError for what is not a string. RangeError for one that is too short or can be guessed.
 */
export function checkSecret(name: string, secret: unknown): string {
  if (typeof secret !== 'string') {
    const hint = secret === undefined ? ' (an environment variable not set?)' : '';
    throw new TypeError(`option ${name} must be a string, got ${kindOf(secret)}${hint}`);
  }
  const weakness = weaknessOf(secret);
  if (weakness !== null) throw new RangeError(`option ${name} ${weakness}; ${HOW_TO}`);
  return secret;
}

/** @throws RangeError for a secret that is there twice: one of the two was meant to be another. */
export function checkDistinct(secrets: readonly string[]): void {
  for (const [index, secret] of secrets.entries()) {
    const first = secrets.indexOf(secret);
    if (first !== index) throw new RangeError(`option secret[${index}] is the same as secret[${first}]; ${HOW_TO}`);
  }
}

/** What a shell, a compose file or a template should have put a value in the place of. */
const UNEXPANDED = /\$\{|\$\(|\{\{|<%/;

function weaknessOf(secret: string): string | null {
  if (UNEXPANDED.test(secret)) return 'is a text in whose place the value of a variable should be';
  if (secret.length < MIN_SECRET_LENGTH)
    return `must have at least ${MIN_SECRET_LENGTH} characters, got ${secret.length}`;
  if (isPlaceholder(secret)) return 'is a placeholder out of an example, which everybody knows';
  if (isRepetition(secret)) return 'is a short text over and over, which is easily guessed';
  if (isSequence(secret)) return 'is a row of characters in their order, which is easily guessed';
  const distinct = new Set(secret).size;
  if (distinct < MIN_DISTINCT_CHARACTERS) {
    return `must have at least ${MIN_DISTINCT_CHARACTERS} different characters, got ${distinct}`;
  }
  return null;
}

/** Known words and next to nothing besides. */
function isPlaceholder(secret: string): boolean {
  const plain = secret.toLowerCase().replace(/[^\p{L}\p{N}]/gu, '');
  const rest = plain.replace(PLACEHOLDER, '');
  return rest !== plain && rest.replace(FILLER, '').length < MIN_BESIDES_PLACEHOLDER;
}

/** One text twice or more, the last time perhaps cut short, that alone would be too short. */
function isRepetition(secret: string): boolean {
  const longest = Math.min(MIN_SECRET_LENGTH - 1, Math.floor(secret.length / 2));
  for (let length = 1; length <= longest; length++) {
    if (secret.startsWith(secret.slice(length))) return true;
  }
  return false;
}

/** `abcdef…`, `987654…`: most characters are the neighbours of those before them. */
function isSequence(secret: string): boolean {
  let neighbours = 0;
  for (let i = 1; i < secret.length; i++) {
    if (Math.abs(secret.charCodeAt(i) - secret.charCodeAt(i - 1)) === 1) neighbours++;
  }
  return neighbours > secret.length / 2;
}
