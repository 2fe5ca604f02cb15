const { availableParallelism } = require('node:os');

/** @type {import('jest').Config} */
module.exports = {
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  testEnvironment: 'node',
  transform: { '\\.ts$': ['@swc/jest', { jsc: { target: 'es2022', parser: { syntax: 'typescript' } } }] },
  // Examples and tests import the package by the name that users do.
  moduleNameMapper: {
    '^tokensession$': '<rootDir>/src/index.ts',
    '^tokensession/([\\w-]+)$': '<rootDir>/src/$1.ts',
  },
  // More than cores: the long suites spend their time waiting for servers to notice that another one has failed.
  maxWorkers: availableParallelism() + 2,
  reporters: ['default', '<rootDir>/test/support/slowest-suites.js'],
  // For a busy machine; no test takes nearly as long on an idle one.
  testTimeout: 120_000,
};
