import MeshCore
import Testing

@Suite struct RetryPolicyTests {
    let policy = RetryPolicy()

    @Test func whatWasNeverWrittenIsRepeatedWhateverItIs() {
        for method in HTTPMethod.allCases {
            #expect(policy.decide(.init(method: method, progress: .nothingWritten)) == .elsewhere)
            #expect(policy.decide(.init(method: method, progress: .nothingWritten, wasKept: true)) == .reconnect)
        }
    }

    @Test func whatMayHaveBeenReadIsRepeatedOnlyWhenThatIsHarmless() {
        let harmless: Set<HTTPMethod> = [.get, .head, .options, .trace, .put, .delete, .query]
        for method in HTTPMethod.allCases {
            let decision = policy.decide(.init(method: method, progress: .written))
            #expect(decision == (harmless.contains(method) ? .elsewhere : .giveUp(.notIdempotent)), "\(method)")
        }
    }

    @Test func anIdempotencyKeyCountsOnlyWhereItIsHonoured() {
        let failure = RetryPolicy.Failure(method: .post, hasIdempotencyKey: true, progress: .written)
        #expect(policy.decide(failure) == .giveUp(.notIdempotent))
        var trusting = policy
        trusting.honoursIdempotencyKey = true
        #expect(trusting.decide(failure) == .elsewhere)
    }

    @Test func nothingIsRepeatedOnceAnAnswerBegan() {
        for method in HTTPMethod.allCases {
            #expect(policy.decide(.init(method: method, progress: .answered)) == .giveUp(.answerBegun))
        }
    }

    @Test func aBodyThatIsGoneCantBeSentAgain() {
        #expect(policy.decide(.init(method: .put, progress: .written, isReplayable: false)) == .giveUp(.bodyGone))
        #expect(policy.decide(.init(method: .put, progress: .nothingWritten, isReplayable: false)) == .giveUp(.bodyGone))
    }

    @Test func twoRepeatsAndNoMore() {
        #expect(policy.decide(.init(method: .get, progress: .written, retries: 1)) == .elsewhere)
        #expect(policy.decide(.init(method: .get, progress: .written, retries: 2)) == .giveUp(.triesUsedUp))
    }

    @Test(arguments: [(1, 2, true), (1, 3, false), (100, 19, true), (100, 20, false), (10, 3, false), (20, 3, true)])
    func repeatsAreAFifthOfTheRequestsButThreeAreAlwaysAllowed(_ requests: Int, _ retries: Int, _ isAllowed: Bool) {
        let decision = policy.decide(.init(method: .get, progress: .written, activeRequests: requests, activeRetries: retries))
        #expect(decision == (isAllowed ? .elsewhere : .giveUp(.budgetUsedUp)))
    }
}
