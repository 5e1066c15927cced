import { AppError } from '../../plugins/lib/errors.ts'

/** The account has suspended or removed the GitHub App: nothing can be done there until it restores it. */
export class InstallationUnavailable extends AppError {
  readonly installationId: number
  readonly reason: 'suspended' | 'removed'

  constructor(installationId: number, reason: 'suspended' | 'removed') {
    super('CONFLICT', {
      message: `The GitHub App was ${reason}`,
      detail: 'The owner of the account must enable it again at GitHub, under Settings, Applications.'
    })
    this.installationId = installationId
    this.reason = reason
  }
}
