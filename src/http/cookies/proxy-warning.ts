import type { Exchange } from '../exchange/exchange';

const WARNING = { type: 'TokensessionWarning', code: 'TOKENSESSION_PROXY' };

/**
 * A function that warns once when a cookie without `Secure` answers a request that came to a proxy over HTTPS. A host
 * that does not trust the proxy takes the request for plain HTTP, and everything seems to work.
 */
export function proxyWarning(): (exchange: Pick<Exchange, 'header'>) => void {
  let isGiven = false;
  return (exchange) => {
    if (isGiven || exchange.header('x-forwarded-proto')?.split(',', 1)[0]?.trim() !== 'https') return;
    isGiven = true;
    process.emitWarning(
      'a request came over HTTPS, by its X-Forwarded-Proto, but the framework takes it for plain HTTP: ' +
        'the session\'s cookie lacks Secure. Set "trust proxy", or what your framework calls it: ' +
        'see docs/getting-started.md, Run behind a proxy',
      WARNING,
    );
  };
}
