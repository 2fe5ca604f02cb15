import { classNameOf, kindOf } from '../errors/arguments';
import { TokenManager } from './token-manager';

/**
 * Refuses anything but a manager. Two copies of the package have two classes of that name.
 *
 * @param caller what needs it, for the error.
 */
export function checkManager(caller: string, manager: unknown): void {
  if (manager instanceof TokenManager) return;
  const isOfCopy = typeof manager === 'object' && manager !== null && classNameOf(manager) === 'TokenManager';
  const hint = isOfCopy ? ', of another copy of tokensession: see npm ls tokensession' : '';
  throw new TypeError(`${caller} needs a TokenManager, got ${kindOf(manager)}${hint}`);
}
