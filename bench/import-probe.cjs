/* Loads the modules that it is given, and prints what that took: `node --expose-gc import-probe.cjs <module> …`. */
const began = performance.now();
for (const name of process.argv.slice(2)) require(name);
const importMs = performance.now() - began;
global.gc();
const { rss, heapUsed } = process.memoryUsage();
console.log(JSON.stringify({ importMs, rssMiB: rss / 2 ** 20, heapMiB: heapUsed / 2 ** 20 }));
process.exit();
