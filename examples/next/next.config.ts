import type { NextConfig } from 'next';

const config: NextConfig = {
  // Otherwise Next makes a copy of the package for pages and one for route handlers, each with errors of its own class.
  serverExternalPackages: ['tokensession'],
};

export default config;
