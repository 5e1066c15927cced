import { userInfo } from 'node:os'

/** Who the audit log says has done it, where no token tells: whoever is logged in on this machine. */
export function commandLineActor(): string {
  return `${userInfo().username} (command line)`
}
