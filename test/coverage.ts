/**
 * `npm run coverage`: fails unless the tests reach every line, branch and function of the code that protects browsers.
 */
import { spawnSync } from 'node:child_process'

const SOURCES = ['plugins/{security-headers,cors,csrf}.ts', 'plugins/lib/{cookies,response-head}.ts']
const TESTS = [
  'test/plugins/{security-headers,cors,csrf,errors-flood}.test.ts',
  'test/lib/{cookies,response-head}.test.ts',
  'test/kernel/quick-heads.test.ts'
]

const { status } = spawnSync(
  process.execPath,
  [
    '--test',
    '--experimental-test-coverage',
    ...SOURCES.map(glob => `--test-coverage-include=${glob}`),
    ...['lines', 'branches', 'functions'].map(unit => `--test-coverage-${unit}=100`),
    ...TESTS
  ],
  { stdio: 'inherit' }
)
process.exitCode = status ?? 1
