//! The managed policies of AWS's own that functions' roles commonly have, with their documents.
//!
//! Source: AWS managed policy reference. When they were made is not told: no client asks.

/// Beginning of the ARNs of AWS's own policies.
pub const ARN_PREFIX: &str = "arn:aws:iam::aws:policy/";

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub struct AwsManaged {
    /// `PolicyName`.
    pub name: &'static str,
    /// `Path`.
    pub path: &'static str,
    /// `DefaultVersionId`, the only version that is served.
    pub version: &'static str,
    /// `Description`.
    pub description: &'static str,
    /// The document.
    pub document: &'static str,
}

impl AwsManaged {
    /// Its ARN.
    pub fn arn(&self) -> String {
        format!("arn:aws:iam::aws:policy{}{}", self.path, self.name)
    }
}

/// The policy of this ARN.
pub fn find(arn: &str) -> Option<&'static AwsManaged> {
    let rest = arn.strip_prefix("arn:aws:iam::aws:policy")?;
    ALL.iter().find(|policy| rest.strip_prefix(policy.path) == Some(policy.name))
}

/// A document with one statement that allows these actions.
macro_rules! allow {
    ([$($action:literal),*], $resource:literal) => {
        concat!(
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["#,
            allow!(@list $($action),*),
            r#"],"Resource":""#, $resource, r#""}]}"#
        )
    };
    (@list $first:literal $(, $rest:literal)*) => {
        concat!("\"", $first, "\"" $(, ",\"", $rest, "\"")*)
    };
}

/// All, in the order of their names.
pub const ALL: &[AwsManaged] = &[
    AwsManaged {
        name: "AWSLambdaBasicExecutionRole",
        path: "/service-role/",
        version: "v1",
        description: "Provides write permissions to CloudWatch Logs.",
        document: allow!(["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"], "*"),
    },
    AwsManaged {
        name: "AWSLambdaDynamoDBExecutionRole",
        path: "/service-role/",
        version: "v1",
        description: "Provides list and read access to DynamoDB streams and write permissions to CloudWatch logs.",
        document: allow!(
            [
                "dynamodb:DescribeStream",
                "dynamodb:GetRecords",
                "dynamodb:GetShardIterator",
                "dynamodb:ListStreams",
                "logs:CreateLogGroup",
                "logs:CreateLogStream",
                "logs:PutLogEvents"
            ],
            "*"
        ),
    },
    AwsManaged {
        name: "AWSLambdaKinesisExecutionRole",
        path: "/service-role/",
        version: "v1",
        description: "Provides list and read access to Kinesis streams and write permissions to CloudWatch logs.",
        document: allow!(
            [
                "kinesis:DescribeStream",
                "kinesis:DescribeStreamSummary",
                "kinesis:GetRecords",
                "kinesis:GetShardIterator",
                "kinesis:ListShards",
                "kinesis:ListStreams",
                "kinesis:SubscribeToShard",
                "logs:CreateLogGroup",
                "logs:CreateLogStream",
                "logs:PutLogEvents"
            ],
            "*"
        ),
    },
    AwsManaged {
        name: "AWSLambdaRole",
        path: "/service-role/",
        version: "v1",
        description: "Default policy for AWS Lambda service role.",
        document: allow!(["lambda:InvokeFunction"], "*"),
    },
    AwsManaged {
        name: "AWSLambdaSQSQueueExecutionRole",
        path: "/service-role/",
        version: "v1",
        description: "Provides receive message, delete message, and read attribute access to SQS queues, and write permissions to CloudWatch logs.",
        document: allow!(
            [
                "sqs:ReceiveMessage",
                "sqs:DeleteMessage",
                "sqs:GetQueueAttributes",
                "logs:CreateLogGroup",
                "logs:CreateLogStream",
                "logs:PutLogEvents"
            ],
            "*"
        ),
    },
    AwsManaged {
        name: "AWSLambdaVPCAccessExecutionRole",
        path: "/service-role/",
        version: "v3",
        description: "Provides minimum permissions for a Lambda function to execute while accessing a resource within a VPC - create, describe, delete network interfaces and write permissions to CloudWatch Logs. ",
        document: allow!(
            [
                "logs:CreateLogGroup",
                "logs:CreateLogStream",
                "logs:PutLogEvents",
                "ec2:CreateNetworkInterface",
                "ec2:DescribeNetworkInterfaces",
                "ec2:DescribeSubnets",
                "ec2:DeleteNetworkInterface",
                "ec2:AssignPrivateIpAddresses",
                "ec2:UnassignPrivateIpAddresses"
            ],
            "*"
        ),
    },
    AwsManaged {
        name: "AWSXRayDaemonWriteAccess",
        path: "/",
        version: "v2",
        description: "Allow the AWS X-Ray Daemon to relay raw trace segments data to the service's API and retrieve sampling data (rules, targets, etc.) to be used by the X-Ray SDK.",
        document: allow!(
            [
                "xray:PutTraceSegments",
                "xray:PutTelemetryRecords",
                "xray:GetSamplingRules",
                "xray:GetSamplingTargets",
                "xray:GetSamplingStatisticSummaries"
            ],
            "*"
        ),
    },
    AwsManaged {
        name: "AdministratorAccess",
        path: "/",
        version: "v1",
        description: "Provides full access to AWS services and resources.",
        document: allow!(["*"], "*"),
    },
    AwsManaged {
        name: "AmazonS3FullAccess",
        path: "/",
        version: "v2",
        description: "Provides full access to all buckets via the AWS Management Console.",
        document: allow!(["s3:*", "s3-object-lambda:*"], "*"),
    },
    AwsManaged {
        name: "AmazonS3ReadOnlyAccess",
        path: "/",
        version: "v3",
        description: "Provides read only access to all buckets via the AWS Management Console.",
        document: allow!(
            ["s3:Get*", "s3:List*", "s3:Describe*", "s3-object-lambda:Get*", "s3-object-lambda:List*"],
            "*"
        ),
    },
    AwsManaged {
        name: "AmazonSQSFullAccess",
        path: "/",
        version: "v1",
        description: "Provides full access to Amazon SQS via the AWS Management Console.",
        document: allow!(["sqs:*"], "*"),
    },
    AwsManaged {
        name: "AmazonSSMReadOnlyAccess",
        path: "/",
        version: "v1",
        description: "Provides read only access to Amazon SSM.",
        document: allow!(["ssm:Describe*", "ssm:Get*", "ssm:List*"], "*"),
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Decision, evaluate};

    #[test]
    fn every_document_is_one_and_is_found_by_its_arn() {
        assert!(ALL.is_sorted_by_key(|policy| policy.name));
        for policy in ALL {
            let document: serde_json::Value = serde_json::from_str(policy.document).unwrap();
            let action = document["Statement"][0]["Action"][0].as_str().unwrap().replace('*', "x:Any");
            assert_eq!(
                evaluate([policy.document], &action, "arn:aws:x"),
                Decision::Allowed,
                "{}",
                policy.name
            );
            assert_eq!(find(&policy.arn()), Some(policy));
        }
        assert_eq!(find("arn:aws:iam::aws:policy/AWSLambdaBasicExecutionRole"), None, "another path");
    }
}
