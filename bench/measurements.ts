/**
 * The measurements that `npm run bench -- <name>` runs, besides the scenarios of `scenarios.ts` and `peers`, which
 * `ratios.ts` runs.
 */
export const measurements: Readonly<Record<string, string>> = {
  overload: './overload.ts',
  computing: './computing.ts',
  scaling: './scaling.ts',
  memory: './memory.ts',
  plugins: './plugins.ts',
  parts: './parts.ts',
  builds: './builds.ts',
  pages: './pages.ts',
  slo: './slo.ts',
  backup: './backup.ts',
  report: './report.ts'
}
