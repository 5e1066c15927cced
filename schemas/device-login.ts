import { Type } from '@sinclair/typebox'
import { adapted, NoQuery, OneOf, Sent, Strict, Text, Timestamp } from './common.ts'
import { errorResponses } from './error.ts'
import { Scope } from './me.ts'
import { FormBody, page, submission } from './pages.ts'

const tags = ['signing in']

const Interval = Type.Integer({ description: 'Seconds to wait before the next question.', examples: [5] })

/** One line of display text, shorter than other names, since a person compares it. */
const ProgramName = Type.String({
  minLength: 1,
  maxLength: 100,
  pattern: '^(?=[\\s\\p{Cf}]*[^\\s\\p{Cf}])[^\\p{Cc}\\p{Cs}\\p{Zl}\\p{Zp}\\p{Bidi_Control}]*$',
  'x-form': 'one line of text with something to see in it',
  description: 'What the program calls itself; the person who approves it reads this.',
  examples: ['rhone on laptop']
})

export const beginDeviceLogin = {
  operationId: 'beginDeviceLogin',
  summary: 'Begin the login of a program',
  description:
    'The device authorization request of RFC 8628, in JSON. Show `userCode` and `verificationUri` to a person, then ask `POST /api/v1/auth/device/token` every `interval` seconds.',
  tags,
  querystring: NoQuery,
  body: Strict(
    {
      name: Type.Optional(ProgramName),
      scopes: Type.Optional(
        Type.Array(Scope, {
          minItems: 1,
          maxItems: 3,
          uniqueItems: true,
          description: 'What its token may do. Absent: everything that its owner may.'
        })
      )
    },
    { title: 'BeginDeviceLoginRequest' }
  ),
  response: {
    201: Sent(
      {
        deviceCode: Text(
          'The secret by which the program asks for the outcome.',
          'GmRhmhcxhwAzkoEqiMEg_DnyEysNkuNhszIySk9eS'
        ),
        userCode: Text('What the person compares, or types.', 'WDJB-MJHT'),
        verificationUri: Text('Where the person types it.', 'https://rhone.example.com/login/device'),
        verificationUriComplete: Text(
          'The same with the code in it.',
          'https://rhone.example.com/login/device?code=WDJB-MJHT'
        ),
        expiresIn: Type.Integer({ description: 'Seconds until the codes are void.', examples: [600] }),
        interval: Interval
      },
      { title: 'DeviceLogin' }
    ),
    ...errorResponses
  }
}

export const askDeviceLogin = {
  operationId: 'askDeviceLogin',
  summary: 'Ask whether a login was approved',
  description:
    'The device access token request of RFC 8628. Its error codes are values of `status` here: a login that waits is not an error. The token comes once; asking again ends it.',
  tags,
  querystring: NoQuery,
  body: Strict(
    {
      deviceCode: Type.String({
        minLength: 1,
        maxLength: 100,
        description: 'As the login was begun with.',
        examples: ['GmRhmhcxhwAzkoEqiMEg_DnyEysNkuNhszIySk9eS']
      })
    },
    { title: 'AskDeviceLoginRequest' }
  ),
  response: {
    200: Sent(
      {
        status: OneOf(['authorization_pending', 'slow_down', 'access_denied', 'expired_token', 'approved'], {
          description:
            '`authorization_pending`: ask again after `interval`. `slow_down`: the same, and `interval` has grown. `access_denied`: the person has refused. `expired_token`: too late, used, or unknown.'
        }),
        interval: Interval,
        token: Type.Optional(
          Type.String({ description: 'The API token, when it is approved.', examples: ['rhone_4f7a...'] })
        ),
        tokenId: Type.Optional(Text('Names the token, to revoke it.', '0197a4b2-5d1c-7c3e-9a51-0c4f6e1b2d3a')),
        scopes: Type.Optional(Type.Array(Scope, { description: 'What it may do.' })),
        expiresAt: Type.Optional(adapted(Timestamp, { description: 'When it ends.' })),
        user: Type.Optional(Text('Whose token it is.', 'ada'))
      },
      { title: 'DeviceLoginOutcome' }
    ),
    ...errorResponses
  }
}

const Code = Type.String({
  minLength: 1,
  maxLength: 64,
  description: 'The code that the program shows; capitals, blanks and the dash do not matter.',
  examples: ['WDJB-MJHT']
})

export const deviceLoginPage = page('getDeviceLoginPage', 'Approve the login of a program', {
  querystring: Strict({
    code: Type.Optional(Code),
    done: Type.Optional(OneOf(['approved', 'denied'], { description: 'What was just decided.' }))
  })
})

export const submitDeviceLogin = submission(
  'submitDeviceLogin',
  'Approve or deny the login of a program, from a page',
  {
    body: FormBody('DeviceLoginForm', {
      code: Code,
      decision: OneOf(['approve', 'deny'], { description: 'Whether it gets a token.' })
    })
  }
)
