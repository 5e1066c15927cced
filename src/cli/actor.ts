import { userInfo } from 'node:os'

/** The audit log's actor for commands without a token: the user who is logged in on this machine. */
export function commandLineActor(): string {
  return `${userInfo().username} (command line)`
}
