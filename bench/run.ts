/**
 * `npm run bench` measures every scenario against its baseline; `npm run bench -- ping detail` some of them.
 * `npm run bench -- overload`, `computing`, `scaling`, `memory`, `slo`, `plugins`, `parts`, `builds`, `peers` and `backup`
 * are measurements of their own, and `npm run bench -- report` writes what the last runs of all of them have found into docs/performance.md.
 */
const OTHERS: Readonly<Record<string, string>> = {
  overload: './overload.ts',
  computing: './computing.ts',
  scaling: './scaling.ts',
  memory: './memory.ts',
  plugins: './plugins.ts',
  parts: './parts.ts',
  builds: './builds.ts',
  slo: './slo.ts',
  backup: './backup.ts',
  report: './report.ts'
}

await import(OTHERS[process.argv[2] ?? ''] ?? './ratios.ts')
