import assert from 'node:assert/strict'
import { test } from 'node:test'
import { describeFailure, toError } from '../../plugins/jobs/failure.ts'

test('a thrown value that is not an Error keeps its text, for operators and in the log', () => {
  const theirs = { message: 'could not lock the queue', queue: 'deploy' }
  assert.equal(describeFailure(theirs), 'could not lock the queue')
  assert.equal(describeFailure({ code: 7 }), '{"code":7}')
  assert.equal(describeFailure('plain'), 'plain')
  assert.equal(toError(theirs).message, 'could not lock the queue')
  assert.equal(toError(theirs).cause, theirs)
})
