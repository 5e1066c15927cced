import { Type } from '@sinclair/typebox'
import { adapted, Strict, Uuid } from './common.ts'
import { FormBody, PageQuery, page, submission, Ticked } from './pages.ts'

export const overview = page('getAdminPage', 'The platform at a glance', { querystring: PageQuery({}) })

const YesOrNo = (description: string) => Type.Unsafe<'yes' | 'no'>({ type: 'string', enum: ['yes', 'no'], description })

export const submitClosing = submission('submitClosing', 'Close or open the platform, from its page', {
  body: FormBody('ClosingForm', {
    enabled: YesOrNo('Whether to close the platform.'),
    message: Type.Optional(
      Type.String({ maxLength: 500, description: 'The message to visitors.', examples: ['Back at six'] })
    ),
    until: Type.Optional(
      Type.String({
        maxLength: 40,
        description: 'When it opens automatically, in UTC and without a zone.',
        examples: ['2026-01-31T12:00']
      })
    ),
    confirm: Ticked
  })
})

export const submitRetry = submission('submitRetry', 'Retry a dead job, from its page', {
  params: Strict({
    id: Type.String({
      minLength: 1,
      maxLength: 255,
      description: 'The id, as in the list of jobs.',
      examples: ['deploy.0197a4b2-5d1c-7c3e-9a51-0c4f6e1b2d3a']
    })
  }),
  body: FormBody('RetryForm', {})
})

export const submitRole = submission('submitRole', 'Grant or revoke the operator role of a user, from a page', {
  params: Strict({ user: adapted(Uuid, { description: 'The UUID of the user.' }) }),
  body: FormBody('RoleForm', { operator: YesOrNo('Whether to make the user an operator.') })
})
