import { main } from '../../src/cli/main.ts'
import type { Variables } from '../../src/config/index.ts'

export interface CommandResult {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** One command line with its own environment. */
export async function rhone(args: readonly string[], variables: Variables = {}): Promise<CommandResult> {
  const written = { stdout: '', stderr: '' }
  const code = await main(args, {
    stdout(text) {
      written.stdout += text
    },
    stderr(text) {
      written.stderr += text
    },
    environment: () => variables
  })
  return { code, ...written }
}
