import LabTools

extension Run {
    /// What members cost that have nothing to do.
    func idle() throws {
        try withMesh { mesh in
            try mesh.run(for: .seconds(size > 50 ? 15 : 5))
            let seconds = lab.effort.isFull ? 60.0 : 20.0
            say("measuring for \(Int(seconds)) s")
            mesh.mark()
            let before = mesh.nodes.map { Cost(of: $0.child.pid) }
            let bytes = Loopback.sentBytes
            let start = Instant.now
            try mesh.run(for: .seconds(seconds))
            let took = Instant.now.seconds(since: start)
            let sent = Loopback.sentBytes - bytes
            let after = mesh.nodes.map { Cost(of: $0.child.pid) }
            let cpu = zip(before, after).map { 100 * ($1.cpuSeconds - $0.cpuSeconds) / took }
            report("sent by a member", .bytesPerSecond, goal: 1000, sent / took / Double(size))
            report("CPU of a member, mean", .percent, goal: 0.3, cpu.reduce(0, +) / Double(size))
            report("private memory of a member, largest", .bytes, goal: 20e6, after.map(\.privateBytes).max() ?? 0)
            report("changes seen meanwhile", .count, goal: 0, Double(mesh.sightings.count))
            rounds = 1
        }
    }

    /// Ten thousand datagrams a second that mean nothing, for one member.
    func junk() throws {
        try withMesh { mesh in
            let victim = try mesh.victim(0, of: size)
            let socket = DatagramSocket()
            defer { socket.close() }
            var random = SystemRandomNumberGenerator()
            let noise = (0..<4096).map { _ in UInt8.random(in: .min ... .max, using: &random) }
            let seconds = lab.effort.isFull ? 60 : 10
            say("sending 10,000 datagrams/s for \(seconds) s")
            let before = Cost(of: victim.child.pid)
            mesh.mark()
            let lines = victim.logLines
            var largest = before.privateBytes
            let start = Instant.now
            var sent = 0
            for tick in 1...(seconds * 1000) {
                for _ in 0..<10 {
                    // From nothing at all to more than a packet may have; some that begin as ours or serf's do.
                    let offset = Int.random(in: 0..<2048)
                    socket.send(noise[offset..<offset + Int.random(in: 0...1400)], to: victim.plan.host)
                    sent += 1
                }
                let due = start + .milliseconds(tick)
                if .now < due { try mesh.run(for: due - .now) }
                if tick % 500 == 0 { largest = max(largest, Cost.privateBytes(of: victim.child.pid)) }
            }
            let took = Instant.now.seconds(since: start)
            try mesh.run(for: .seconds(5))
            let after = Cost(of: victim.child.pid)
            say("sent \(Int(Double(sent) / took)) datagrams/s")
            report("memory that it took", .bytes, goal: 8e6, max(largest, after.privateBytes) - before.privateBytes)
            report("changes seen meanwhile", .count, goal: 0, Double(mesh.sightings.count))
            report("log lines a second", .count, goal: 1, Double(victim.logLines - lines) / (took + 5))
            report("CPU of the member meanwhile", .percent, 100 * (after.cpuSeconds - before.cpuSeconds) / took)
            rounds = 1
        }
    }
}
