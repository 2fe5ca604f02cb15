const SHOWN = 5;

/** A reporter for Jest that prints the slowest suites, so that a slow one is noticed. */
module.exports = class SlowestSuites {
  onRunComplete(_contexts, { testResults }) {
    if (testResults.length <= SHOWN) return;
    const suites = testResults.map(({ testFilePath, perfStats }) => ({
      testFilePath,
      seconds: perfStats.runtime / 1000,
    }));
    suites.sort((one, other) => other.seconds - one.seconds);
    console.log('\nThe slowest suites:');
    for (const { testFilePath, seconds } of suites.slice(0, SHOWN)) {
      console.log(`${seconds.toFixed(1).padStart(6)} s  ${testFilePath.replace(/^.*\/test\//, 'test/')}`);
    }
  }
};
