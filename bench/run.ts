/**
 * `npm run bench` measures every scenario against its baseline; `npm run bench -- ping detail` some of them.
 * `npm run bench -- overload` and the other {@link measurements} are measurements of their own, and
 * `npm run bench -- report` writes what the last runs of all of them have found into docs/performance.md.
 */
import { measurements } from './measurements.ts'

await import(measurements[process.argv[2] ?? ''] ?? './ratios.ts')
