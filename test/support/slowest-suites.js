const SHOWN = 5;

/** A reporter for Jest: prints which suites of a whole run took longest, so that one that has become slow is seen. */
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
