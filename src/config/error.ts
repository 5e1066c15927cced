/** Everything that is wrong with the environment, at once. The process exits with 78 (EX_CONFIG of sysexits). */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  static readonly exitCode = 78
  readonly problems: readonly string[]
  constructor(problems: readonly string[]) {
    super(`the environment is not usable:\n${problems.map(problem => `  ${problem}`).join('\n')}`)
    this.problems = problems
  }
}
