import LabControl
import Testing

/// What the containers are allowed, and what they say of their health.
@Suite(.serialized) struct ImageTests {
    @Test func everyRoleIsHealthy() throws {
        let lab = try Lab.whole()
        for service in lab.nodes.flatMap(\.services) + ["balancer"] {
            try eventually("\(service) is healthy", within: .seconds(60)) {
                try lab.engine.details(service).state.health?.status == "healthy"
            }
        }
    }

    @Test func noRoleHasRightsThatItDoesNotNeed() throws {
        let lab = try Lab.whole()
        for service in lab.nodes.flatMap(\.services) + ["balancer"] {
            let details = try lab.engine.details(service)
            #expect(!["", "0", "root"].contains(details.config.user), "\(service) runs as root")
            #expect(details.hostConfig.readonlyRootfs, "\(service) may write to its image")
            #expect(details.hostConfig.capDrop == ["ALL"], "\(service) keeps capabilities")
            #expect(details.hostConfig.binds?.contains { $0.contains("docker.sock") } != true, "\(service) reaches the engine")
        }
    }
}
