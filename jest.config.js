const { availableParallelism } = require('node:os');

/** @type {import('jest').Config} */
module.exports = {
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  testEnvironment: 'node',
  transform: { '\\.ts$': ['@swc/jest', { jsc: { target: 'es2022', parser: { syntax: 'typescript' } } }] },
  // Examples and tests import the package by the name that users do.
  moduleNameMapper: {
    '^tokensession$': '<rootDir>/src/index.ts',
    '^tokensession/(express|koa)$': '<rootDir>/src/$1.ts',
  },
  // Not one less: most suites spend most of their time waiting for what servers do when one of them fails.
  maxWorkers: availableParallelism(),
  reporters: ['default', '<rootDir>/test/support/slowest-suites.js'],
  // For a busy machine; no test takes nearly as long on an idle one.
  testTimeout: 120_000,
};
