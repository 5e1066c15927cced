import { smtpMailer } from '../../integrations/mail/smtp.ts'
import type { Registry } from '../../plugins/lib/registry.ts'
import type { Config } from '../config/index.ts'
import type { Audience } from '../workflows/backups/notify.ts'

/** Who is notified of unattended work. */
export function audienceOf({ notifyWebhookUrl, notifyEmail, mail }: Config, registry?: Registry): Audience {
  const isMailed = mail !== null && notifyEmail.length > 0
  return {
    webhookUrl: notifyWebhookUrl,
    mail: isMailed ? { mailer: smtpMailer({ ...mail, registry }), to: notifyEmail } : null,
    registry
  }
}
