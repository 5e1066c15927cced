/**
 * `npm run bench` measures every scenario against its baseline; `npm run bench -- ping detail` only the named ones.
 * `npm run bench -- overload` runs one of the other {@link measurements}, and `npm run bench -- report` writes the
 * latest results into docs/performance.md.
 */
import { measurements } from './measurements.ts'

await import(measurements[process.argv[2] ?? ''] ?? './ratios.ts')
