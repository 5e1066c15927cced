import { AppError } from '../../plugins/lib/errors.ts'

/** An account has suspended the GitHub App, or removed it: nothing can be done there until it changes its mind. */
export class InstallationUnavailable extends AppError {
  readonly installationId: number
  readonly reason: 'suspended' | 'removed'

  constructor(installationId: number, reason: 'suspended' | 'removed') {
    super('CONFLICT', {
      message: `The GitHub App was ${reason}`,
      detail: 'Its account has to allow it again at GitHub, under Settings, Applications.'
    })
    this.installationId = installationId
    this.reason = reason
  }
}
