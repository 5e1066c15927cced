/** Every problem with the environment, reported at once. The process exits with 78 (EX_CONFIG in sysexits). */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  static readonly exitCode = 78
  readonly problems: readonly string[]
  constructor(problems: readonly string[]) {
    super(`the environment is invalid:\n${problems.map(problem => `  ${problem}`).join('\n')}`)
    this.problems = problems
  }
}
