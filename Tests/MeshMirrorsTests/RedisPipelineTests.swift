#if Redis
    import MeshCore
    import NIOCore
    import Testing

    @testable import MeshMirrors

    /// Plays with the pipeline alone: each line of a transcript is one directive.
    @Suite struct RedisPipelineTests {
        private var pipeline = RedisPipeline<Int>()

        private func exchange(_ ticket: Int, commands: Int = 1, bytes: Int = 1, due: UInt64 = 100) -> RedisPipeline<Int>.Exchange {
            .init(
                ticket: ticket, request: ByteBuffer(repeating: UInt8(ticket & 255), count: bytes), commands: commands,
                deadline: .uptimeNanoseconds(due))
        }

        private func transcript(_ directives: [RedisPipeline<Int>.Directive]) -> [String] {
            directives.map { directive in
                switch directive {
                case .write(let buffer): "write \(buffer.getInteger(at: 0, as: UInt8.self) ?? 0)"
                case .answer(let ticket, .success(let replies)): "\(ticket) gets \(replies.map(number))"
                case .answer(let ticket, .failure(let error)): "\(ticket) fails: \(error.code)"
                case .greeted: "greeted"
                case .closeConnection: "close"
                }
            }
        }

        private func number(_ reply: RedisReply) -> Int64 {
            if case .integer(let number) = reply { number } else { -1 }
        }

        private mutating func ready() {
            _ = pipeline.connected(greeting: ByteBuffer(repeating: 0, count: 1), commands: 1, deadline: .uptimeNanoseconds(50))
            _ = pipeline.received(.status("PONG"))
            _ = pipeline.accepted()
        }

        @Test mutating func callsWaitForTheGreetingAndAreAnsweredInTheirOrder() {
            #expect(transcript(pipeline.submit(exchange(1))) == [])
            #expect(
                transcript(pipeline.connected(greeting: ByteBuffer(repeating: 9, count: 1), commands: 2, deadline: .uptimeNanoseconds(50)))
                    == ["write 9"])
            #expect(transcript(pipeline.submit(exchange(2, commands: 2))) == [])
            #expect(transcript(pipeline.received(.status("OK"))) == [])
            #expect(transcript(pipeline.received(.status("PONG"))) == ["greeted"])
            #expect(transcript(pipeline.accepted()) == ["write 1", "write 2"])
            #expect(transcript(pipeline.received(.integer(10))) == ["1 gets [10]"])
            #expect(transcript(pipeline.received(.integer(20))) == [])
            #expect(transcript(pipeline.received(.integer(21))) == ["2 gets [20, 21]"])
        }

        @Test mutating func aLateAnswerEndsTheConnectionSoThatItIsNeverTakenForTheNext() {
            ready()
            _ = pipeline.submit(exchange(1, due: 100))
            _ = pipeline.submit(exchange(2, due: 110))
            #expect(transcript(pipeline.tick(.uptimeNanoseconds(99))) == [])
            #expect(transcript(pipeline.tick(.uptimeNanoseconds(100))) == ["close", "1 fails: timedOut", "2 fails: timedOut"])
            #expect(transcript(pipeline.received(.integer(1))) == [])
        }

        @Test mutating func oneUnexpectedReplyEndsTheConnection() {
            ready()
            #expect(transcript(pipeline.received(.integer(1))) == ["close"])
        }

        @Test mutating func aConnectionThatWorkedIsWorthWaitingForAndOneThatNeverDidIsNot() {
            ready()
            _ = pipeline.submit(exchange(1))
            _ = pipeline.received(.integer(1))
            _ = pipeline.submit(exchange(2))
            #expect(transcript(pipeline.lost(MirrorError(.unreachable, "cut"))) == ["close", "2 fails: unreachable"])
            #expect(transcript(pipeline.submit(exchange(3))) == [])
            #expect(transcript(pipeline.lost(MirrorError(.unreachable, "refused"))) == ["3 fails: unreachable"])
            #expect(transcript(pipeline.submit(exchange(4))) == ["4 fails: unreachable"])
            #expect(pipeline.phase == .down)
            ready()
            #expect(transcript(pipeline.submit(exchange(5))) == ["write 5"])
        }

        @Test mutating func aRefusedGreetingIsTheAnswerToEveryCall() {
            _ = pipeline.submit(exchange(1))
            _ = pipeline.connected(greeting: ByteBuffer(), commands: 1, deadline: .uptimeNanoseconds(50))
            #expect(transcript(pipeline.received(.error("WRONGPASS"))) == ["greeted"])
            #expect(transcript(pipeline.lost(MirrorError(.refused, "password"))) == ["close", "1 fails: refused"])
            #expect(transcript(pipeline.submit(exchange(2))) == ["2 fails: refused"])
        }

        @Test mutating func aGreetingThatIsNotAnsweredIsGivenUp() {
            _ = pipeline.submit(exchange(1))
            _ = pipeline.connected(greeting: ByteBuffer(), commands: 1, deadline: .uptimeNanoseconds(50))
            #expect(pipeline.nextDeadline == .uptimeNanoseconds(50))
            #expect(transcript(pipeline.tick(.uptimeNanoseconds(50))) == ["close", "1 fails: timedOut"])
        }

        @Test mutating func onlySoMuchIsOnTheWayAtOnce() {
            ready()
            #expect(transcript(pipeline.submit(exchange(1, commands: 1023))) == ["write 1"])
            #expect(transcript(pipeline.submit(exchange(2))) == ["write 2"])
            #expect(transcript(pipeline.submit(exchange(3))) == [])
            for _ in 0..<1022 { _ = pipeline.received(.integer(0)) }
            #expect(transcript(pipeline.received(.integer(0))).last == "write 3")
        }

        @Test mutating func anExchangeLargerThanTheByteBoundGoesAlone() {
            ready()
            #expect(transcript(pipeline.submit(exchange(1, bytes: 5 << 20))) == ["write 1"])
            #expect(transcript(pipeline.submit(exchange(2))) == [])
            #expect(transcript(pipeline.received(.integer(0))) == ["1 gets [0]", "write 2"])
        }

        @Test mutating func theQueueIsBoundedAndWaitingEndsAtTheDeadlineWithoutHarmToTheConnection() {
            for ticket in 0..<1024 { #expect(pipeline.submit(exchange(ticket)).isEmpty) }
            #expect(transcript(pipeline.submit(exchange(1024))) == ["1024 fails: timedOut"])
            #expect(pipeline.tick(.uptimeNanoseconds(100)).count == 1024)
            ready()
            #expect(transcript(pipeline.submit(exchange(1))) == ["write 1"])
        }

        @Test mutating func nobodyIsLeftWaitingWhenItStops() {
            ready()
            _ = pipeline.submit(exchange(1, commands: 1024))
            _ = pipeline.submit(exchange(2))
            #expect(transcript(pipeline.stopped()) == ["close", "1 fails: unreachable", "2 fails: unreachable"])
            #expect(transcript(pipeline.submit(exchange(3))) == ["3 fails: unreachable"])
            pipeline.started()
            #expect(transcript(pipeline.submit(exchange(4))) == [])
        }
    }
#endif
