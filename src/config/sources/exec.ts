import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type Secret, type SecretSource, SourceError } from './port.ts'
import { hashed } from './version.ts'

/** Time limit for the command, in milliseconds. */
const TIMEOUT = 20_000
const MAX_OUTPUT = 1_000_000

/**
 * A command that prints a JSON object of secrets by variable, such as `sops -d --output-type json secrets.json`. It
 * runs in a shell. Its output never appears in a message.
 * @param timeout milliseconds
 */
export function execSource(command: string, timeout = TIMEOUT): SecretSource {
  const name = `exec:${command.split(/\s/, 1)[0]}`
  return {
    name,
    async load(names) {
      const printed = parse(name, await outputOf(name, command, timeout))
      const found = new Map<string, Secret>()
      for (const variable of names) {
        const value = printed[variable]
        if (value === undefined || value === null || value === '') continue
        if (typeof value !== 'string') throw new SourceError(`${name}: ${variable} must be text`)
        found.set(variable, hashed(variable, value.trim()))
      }
      return found
    }
  }
}

function parse(name: string, text: string): Record<string, unknown> {
  try {
    const printed: unknown = JSON.parse(text)
    if (typeof printed === 'object' && printed !== null && !Array.isArray(printed))
      return printed as Record<string, unknown>
  } catch {
    // The parser's message would quote the output.
  }
  throw new SourceError(`${name}: did not print a JSON object such as {"METRICS_TOKEN":"..."}`)
}

async function outputOf(name: string, command: string, timeout: number): Promise<string> {
  // A separate process group, so that a whole pipeline can be killed.
  const child = spawn(command, { shell: true, detached: true, stdio: ['ignore', 'pipe', 'ignore'] })
  const end = () => endGroup(child.pid)
  let problem: string | undefined
  const deadline = setTimeout(() => {
    problem = `did not end within ${timeout / 1_000} s`
    end()
  }, timeout)
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
    if (text.length <= MAX_OUTPUT) return
    problem = `printed more than ${MAX_OUTPUT} characters`
    end()
  })
  try {
    const [code, signal] = await once(child, 'close')
    problem ??= code === 0 ? undefined : `failed with ${signal ?? code}; run it by hand to see why`
  } catch (error) {
    problem = `cannot be run (${(error as NodeJS.ErrnoException).code})`
  } finally {
    clearTimeout(deadline)
  }
  if (problem !== undefined) throw new SourceError(`${name}: ${problem}`)
  return text
}

function endGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL')
  } catch {
    // It has exited by itself.
  }
}
